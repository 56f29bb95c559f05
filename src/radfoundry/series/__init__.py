"""MRI series sorting: what every series is, by its tags and its pixels, and how sure that is."""
