"""timm's classes, made to build any code of a family."""
