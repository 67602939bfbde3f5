"""All decisions of a gateway: `handle(event, now) -> [command]`. No clock, no socket, no log, no await.

| module       | what is inside                                                   |
| ------------ | ---------------------------------------------------------------- |
| `vocabulary` | all events and commands; start reading here                      |
| `gateway`    | the order of the checks: one knock from capture to verdict       |
| `agenda`     | the order in which the loop handles events and performs commands |
| `settings`   | the operator's settings, as far as the core needs them           |
| `knock`      | the checks of a knock, from its arrival to the verdict           |
| `residents`  | the peers in the device, and how they leave it                   |
| `delivery`   | deliveries that have to be watched after the install             |
| `takeover`   | takes over clients that the network has led here                 |
"""
