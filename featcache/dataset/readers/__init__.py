"""Readers of data sets, by form.

A reader of rows gives a `table.Table`; `narrow.parse_table` turns a narrow one (one picture a row) into samples,
`ct2.parse_wide` a wide one. `folders` and `webdataset` give samples themselves.
"""
