"""A local stand-in for Discord: what the bot talks to when there is no token, and what the end-to-end tests drive.

`server.Playground` is the whole. It speaks Discord's REST and gateway protocols to the bot, and a small socket protocol
to the page in the browser. It knows nothing of Pupil: any Discord bot can connect to it.

    page  ──▶ socket ─┐                                ┌── gateway ──▶ bot
                      ├─▶ actions ──▶ interactions ──▶ ┤
    tests ──▶ people ─┘      └──▶ world ◀── replies ◀─ └── rest, routes ◀── bot
"""
