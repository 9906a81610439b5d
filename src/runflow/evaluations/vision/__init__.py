"""A judge that asks a vision-language model, over any endpoint that speaks the OpenAI chat protocol."""

from runflow.evaluations.vision.judge import VisionJudge, configured_vision_judge

__all__ = ["VisionJudge", "configured_vision_judge"]
