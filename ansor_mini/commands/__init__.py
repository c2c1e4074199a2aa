"""The commands of `python -m ansor_mini`, one room each; `ansor_mini.__main__` lists them."""
