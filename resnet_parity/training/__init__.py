"""Training on a folder of photographs: the data, the configuration and the folder of a run.

Nothing here imports a framework; the loops are in `resnet_torch.training` and
`resnet_keras.training`.
"""
