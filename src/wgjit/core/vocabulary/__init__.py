"""All events that the core handles, and all commands that it gives. Start reading here.

The daemon's loop makes an event of everything that happens and hands it to `Gateway.handle(event, now)`. The loop then
performs the commands that `handle` returns. The core never waits, never reads a clock and never touches a socket.

A knock is one captured packet on its way through the checks. All events and commands of a knock carry its number.
The core keeps two promises for each knock: a held packet gets exactly one Release, and every knock that has the shape
of an initiation gets exactly one Tell, as its last command.

| module     | what is inside                                                     |
| ---------- | ------------------------------------------------------------------ |
| `events`   | what happens: events, which the core handles                       |
| `commands` | what is to be done: commands, which the core gives                 |
| `told`     | commands that change nothing: what is published, counted, logged   |
| `moment`   | the time of an event, and the knock that events and commands are of |
"""
