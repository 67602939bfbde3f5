"""The first copy of the registry of record, and repairs of a copy.

| module      | what is inside                                         |
| ----------- | ------------------------------------------------------ |
| `copying`   | the copy, and the repair, range of keys by range of keys |
| `loading`   | writes the first copy                                  |
| `addresses` | fills the table of addresses after the first copy      |
| `ranges`    | reads ranges of keys for the first copy                |
"""
