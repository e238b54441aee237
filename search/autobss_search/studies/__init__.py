"""Searches that are kept on disk: the study, its ledger of trials, its journal and its recipe."""
