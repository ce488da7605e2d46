"""Small heads of our own on EfficientNet-Lite0: people's boxes, people's masks, road scenes."""
