"""The peers in the device, and how they leave it.

| module        | what is inside                                                                       |
| ------------- | ------------------------------------------------------------------------------------ |
| `residency`   | the table of residents, and which prefixes they own                                  |
| `state`       | all data about residents, and the steps that change it together                      |
| `looks`       | readings of the device: when they are due, and what they show                        |
| `news`        | changes of residents' registrations                                                  |
| `upkeep`      | what happens without a knock: readings of the device, registry changes, time         |
| `idleness`    | which residents may leave, and when the next look is due                             |
| `removals`    | paced removals, so that installs seldom wait                                         |
| `pins`        | pinned peers are installed without a knock                                           |
| `expiries`    | when residents expire                                                                |
| `holders`     | which gateway of the fleet holds a resident                                          |
| `completion`  | residents that knock again and again, and never complete a handshake                 |
| `proofs`      | which initiation began the session that is up                                        |
| `routes`      | which routes lead traffic from inside to the residents that this gateway holds       |
| `placeholder` | the peer that keeps registered addresses while their own peers are away              |
"""
