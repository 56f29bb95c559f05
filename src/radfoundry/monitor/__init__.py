"""Results over time: a SQL store of what happened, control charts of its rates, and their drawings.

`store.open_store` keeps events with their outcomes, `series` counts them by week, `charts` judges the weeks
(p-chart, EWMA, CUSUM), `case_chart` judges case by case, and `figures` draws both.
"""
