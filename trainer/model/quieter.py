"""Less attention in the packaged encoder's upper layers than published: which weights count less, and how much.

From layer 4 on (counting from 0) what attention adds to a token counts 0.7 of what the published MiniLM has it count.
Its upper layers make texts of one trade alike; where a token keeps more of itself, few texts describe a label better.
Head alone, 5 texts a label: BANKING77 80.6 to 80.8 %, CLINC150 90.4 to 91.4, of its texts out of scope 65 % instead of
56 recalled at 95 % precision; fine-tuned, 8 texts: 84.3 to 84.4, 94.2 to 94.7. Other layers and shares are in
trainer/LOG.md. Not measured on other encoders, which stay as their authors made them.
"""

from __future__ import annotations

import re

PUBLISHED = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""sha256 of the published model.safetensors. What was trained or saved since has the share in its weights."""
SHARE = 0.7
_FROM_LAYER = 4
_OUTPUT = re.compile(r"(?:^|\.)encoder\.layer\.(\d+)\.attention\.output\.dense\.(?:weight|bias)$")


def counts_less(weight: str) -> bool:
    """Whether the weight of this name is multiplied with SHARE where the file is the published one."""
    found = _OUTPUT.search(weight)
    return found is not None and int(found[1]) >= _FROM_LAYER
