"""Results over time: a SQL store of what happened, control charts of its rates, and their drawings.

`store.open_store` keeps events with their outcomes, `series` counts them by week, `charts` judges the weeks,
`figures` draws the charts.
"""
