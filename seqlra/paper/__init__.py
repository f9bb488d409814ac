"""The paper, reproduced: a file for each table and figure, with the cells that it trains and how it is laid out."""
