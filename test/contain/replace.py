# SPDX-License-Identifier: GPL-2.0-or-later
"""replace.py ADDRESS PROFILE SENSOR TIMES LIST LIST...: replaces the allow list (entries with spaces between) so many times, each
time until the host has it in force. A process of its own, in the namespace of its caller."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "harness"))
import telovix  # noqa: E402 -- the folder is added first

IN_FORCE, LOST = (2, 3), (4, 5, 6, 7)  # telovix.v1.RuleState


def main():
    address, profile, sensor, times, *lists = sys.argv[1:]
    api = telovix.Api(address, profile)
    for number in range(int(times)):
        rule = api.call("telovix.v1.ContainmentService/SetAllowList", sensor=sensor, allow=lists[number % len(lists)].split()).rule

        def applied():
            found = api.call("telovix.v1.PolicyService/GetEnforcementRule", rule_id=rule.rule_id)
            assert found.observed_state not in LOST, found
            return found.observed_state in IN_FORCE
        telovix.wait_for(applied, f"replacement {number} is in force")
    api.close()
    print(f"{times} replacements")


if __name__ == "__main__":
    main()
