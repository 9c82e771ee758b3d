"""`resnet-parity diagnose`: find every fault that makes two models compute different functions."""
