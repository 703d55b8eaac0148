"""Training on arrays of pictures: GAN, VAE, classifier, and the folder that each run explains itself in.

Knows no index.
"""
