"""What a study has found and how it goes: tables, figures, a page, a live view."""
