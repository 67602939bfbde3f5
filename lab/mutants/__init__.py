"""Mutation tests: `./dev mutants` breaks a module in many small ways, and runs the tests near it for each break.

A break that no test notices is a survivor: a test is missing, or the break changes nothing that matters. Modules:

| module     | what is inside                                                                 |
| ---------- | ------------------------------------------------------------------------------ |
| `breaks`   | which breaks are made of a module: the operators of cosmic-ray, and two of ours |
| `reach`    | which tests execute which line, and how long they take                          |
| `warm`     | a break of a function, put into a process that has collected the tests          |
| `trial`    | a break of anything, in a process that imports the package anew                  |
| `profile`  | how hypothesis makes its examples meanwhile                                     |
| `session`  | the outcomes of a module's breaks, in a file: what a later run goes on with      |
| `run`      | what is tried of some modules, in which way, and until when                     |
| `__main__` | the command                                                                    |
"""
