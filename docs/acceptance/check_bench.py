"""Check the figures of `gaelp bench market --json` on standard input against step 1's lines."""

import json
import sys

found = json.load(sys.stdin)
ns = found["ns_per_opportunity"]
lines = {
    "ns at 10,000 people, 5 rivals": (ns["10000"]["5"], 250.0),
    "ns at 1,000,000 over ns at 10,000": (ns["1000000"]["5"] / ns["10000"]["5"], 3.0),
    "ns at 10,000 people, 48 rivals": (ns["10000"]["48"], 1000.0),
    "bytes a person": (found["bytes_per_user"], 320.0),
    "100 worlds x 10,000 people x 30 days, wall s": (found["hundred_worlds_wall_s"], 15.0),
    "3 / opportunities a person and day": (3.0 / found["opportunities_per_user_day"], 1.0),
}
for name, (value, most) in lines.items():
    print(f"{name:48s} {value:10.2f}  at most {most:g}  {'ok' if value <= most else 'NOT MET'}")
sys.exit(any(value > most for value, most in lines.values()))
