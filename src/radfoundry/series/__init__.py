"""MRI series sorting: what every series of an archive is, by its tags and its pixels, and how sure that is."""
