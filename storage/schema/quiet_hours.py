"""Quiet hours of a schedule: step 0012."""

from __future__ import annotations

QUIET_HOURS = """
-- Within these hours of the schedule's time zone nothing starts by itself.
ALTER TABLE schedules ADD COLUMN quiet TEXT CHECK (quiet GLOB '[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]');
"""
