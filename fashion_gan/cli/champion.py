"""fashion-gan champion"""

from fashion_gan.cli import make_command
from fashion_gan.config.stores import shown_uri
from fashion_gan.errors import UserError
from fashion_gan.tracking.client import MODEL_NAME, check_there, make_client, short_message
from fashion_gan.tracking.registry import COMPARED

ADVICE = "train one: fashion-gan run params/default.yaml"


@make_command("champion")
def command() -> None:
    holder = None
    try:
        check_there()
        client = make_client()
        versions = client.search_model_versions(f"name='{MODEL_NAME}'")
        versions = sorted(versions, key=lambda version: int(version.version))
        if versions:
            holder = client.get_model_version_by_alias(MODEL_NAME, "champion").version
    except UserError:
        raise
    except Exception as error:  # whatever a store answers
        reason = short_message(error)
        raise UserError(f"no champion in MLflow at {shown_uri()} ({reason}); {ADVICE}") from None
    if not versions:
        raise UserError(f"no model is registered in MLflow at {shown_uri()}; {ADVICE}")
    for version in versions:
        tags = version.tags
        mark = "champion " if version.version == holder else " " * 9
        scores = ", ".join(f"{name} {tags[name][:6]}" for name in COMPARED if name in tags)
        print(f"{mark} version {version.version}  run {tags.get('run')}")
        print(f"{'':11}{scores}")
        print(f"{'':11}{tags.get('champion', 'not decided by this rule')}")
