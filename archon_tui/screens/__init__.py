"""The screens, one a file; `page.Page` is what they have in common."""
