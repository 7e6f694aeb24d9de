"""fashion-gan champion"""

import sys

import registry
import store
from command import guarded, parser_of

from fashion_gan.errors import UserError


def main() -> None:
    parser_of("champion").parse_args()
    mlflow = store.import_mlflow()
    try:
        store.check_there()
        client = registry.make_client()
        versions = sorted(
            client.search_model_versions(f"name='{store.MODEL_NAME}'"), key=lambda v: int(v.version)
        )
        holder = (
            client.get_model_version_by_alias(store.MODEL_NAME, "champion").version
            if versions
            else None
        )
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise UserError(
            f"no champion in MLflow at {store.shown_uri()} ({store.first_line(error)}); train one:"
            " fashion-gan run params/default.yaml"
        ) from None
    if not versions:
        raise UserError(
            f"no model is registered in MLflow at {store.shown_uri()}; train one: fashion-gan run"
            " params/default.yaml"
        )
    for version in versions:
        tags = version.tags
        print(
            f"{'champion ' if version.version == holder else '         '} version {version.version}"
            f"  run {tags.get('run')}"
        )
        print(
            "           "
            + ", ".join(
                f"{name} {tags[name][:6]}"
                for name in ("distance", "recall", "label_accuracy")
                if name in tags
            )
        )
        print(f"           {tags.get('champion', 'not decided by this rule')}")


if __name__ == "__main__":
    sys.exit(guarded(main))
