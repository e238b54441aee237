"""Supernets over search spaces: how their networks are drawn, trained and scored."""
