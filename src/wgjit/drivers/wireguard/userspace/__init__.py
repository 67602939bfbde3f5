"""wireguard-go, by its socket (the cross-platform userspace API, "UAPI").

| module       | what is inside                      |
| ------------ | ----------------------------------- |
| `device`     | UserspaceDevice                     |
| `connection` | the socket                          |
| `messages`   | its text protocol                   |
| `dump`       | a crowd's text, quickly             |
"""
