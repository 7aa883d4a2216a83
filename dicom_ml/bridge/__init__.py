"""What transforms, datasets and callbacks share: volumes and masks as tensors, and predictions as files."""
