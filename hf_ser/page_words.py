"""The text that the demo, its Space and the static page share, and how their Spaces look."""

from typing import Any

TITLE = "Which emotion does a voice express?"
SENTENCE = "A model estimates, from the sound of a voice, how likely each emotion is."
SYNTHETIC = "This model was trained on synthetic voices. Its answers say nothing about real speech."
SPACE_LOOK: dict[str, Any] = {"emoji": "🗣️", "colorFrom": "indigo", "colorTo": "pink", "pinned": False}
# Markdown.
LIMITS = (
    "**Acted speech.** Most models are trained on actors who spoke prepared sentences. They are less accurate on "
    "everyday speech, and on languages and microphones that are not in their training data.",
    "**Few classes.** A model has the classes of its training data, and no others. Mixed feelings, irony and "
    "everything else get one of these labels too.",
    "**Not what somebody feels.** The answer describes how a voice sounds. It does not measure what a person feels, "
    "means, or will do. Do not use it to make decisions about people.",
    "**Consent.** Do not use it on people who have not agreed to it.",
    "**The law.** In the European Union, the AI Act (Regulation (EU) 2024/1689, article 5) prohibits inferring "
    "emotions at work and in education, except for medical or safety reasons. Other uses count as high-risk, "
    "and the people concerned must be informed. Other countries have their own laws.",
)
