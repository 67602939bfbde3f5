"""A gateway leaves, comes back, and says whether it is fit to serve.

| module   | what is inside                                                        |
| -------- | --------------------------------------------------------------------- |
| `health` | the checks of a gateway's health                                      |
| `inside` | whether the network behind the gateway can be reached                 |
| `ending` | SIGTERM: the gateways of a fleet drain before they end                |
"""
