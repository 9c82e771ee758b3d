"""How a photograph becomes an input, as data. Decoding and arithmetic are the checker's work.

Resize the shorter side, crop the centre, scale to [0, 1], subtract the mean and divide by the
deviation, per channel in RGB order: the recipe by which torchvision evaluates its weights
(https://docs.pytorch.org/vision/stable/models.html).
"""

RESIZE = 256
CROP = 224
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
