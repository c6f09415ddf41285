"""Run records made into what people read: statistics, published figures, tables, plots and the report."""
