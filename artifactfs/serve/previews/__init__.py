"""What a file looks like, as data: words of code, a tree of a document, rows of a table, shapes of arrays.

Never HTML: the page makes elements of it and sets their text. What is read of a file is bounded, whatever its size.
"""
