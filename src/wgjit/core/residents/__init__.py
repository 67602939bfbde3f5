"""Who is in the device, and how they leave it.

| module        | what is inside                                                                     |
| ------------- | ---------------------------------------------------------------------------------- |
| `residency`   | who is installed right now, and which prefixes are taken                           |
| `state`       | all that is kept of residents, and how it changes together                         |
| `looks`       | the device is read for all decisions together                                      |
| `news`        | what the registry says of residents                                                |
| `upkeep`      | what happens without a knock: the device is read, the registry speaks, time passes |
| `idleness`    | who may leave, and when to look                                                    |
| `removals`    | the way out of the device, at a pace that leaves it to installs                    |
| `expiries`    | when residents expire                                                              |
| `placeholder` | the peer that keeps registered addresses while their own peers are away            |
"""
