"""lab bench: the lab's server and its reader beside their peers, in turn, in one run.

Machines are shared and swing from minute to minute. So everything is a ratio to a peer that ran in the same round, and
what is shown of the rounds is their median and their spread. What does not swing at all is counted besides: how many
requests the server makes of Wine's server for one echoed message.
"""
