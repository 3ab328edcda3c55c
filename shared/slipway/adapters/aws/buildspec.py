"""What CodeBuild is told to do: the same for every build; whatever differs comes as a variable or a file.

The commands are short, because CodeBuild quotes the one that failed as its reason; what they do is a script beside the
context. No value of a submission is part of either: the image comes in quoted variables, and build arguments in a file
that bash reads into an array. CodeBuild's standard images have bash, the AWS command line and docker with BuildKit.

https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html
https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-available.html
"""

from __future__ import annotations

IMAGE = "SLIPWAY_IMAGE"
"""The variable with the full reference of the image; with ATTEMPT it names the build."""
ATTEMPT = "SLIPWAY_ATTEMPT"
REGION = "SLIPWAY_REGISTRY_REGION"
"""The variable with the region of the registry, which may be another than the build's."""

BUILDSPEC = """\
version: 0.2
phases:
  pre_build:
    on-failure: ABORT
    commands:
      - bash slipway.sh login
  build:
    on-failure: ABORT
    commands:
      - bash slipway.sh build
      - bash slipway.sh push
"""

SCRIPT_NAME = "slipway.sh"
SCRIPT = r"""set -euo pipefail

# BuildKit wherever docker has it, built in or as its plug-in. An attestation would make the image an index, which
# SageMaker does not take.
export DOCKER_BUILDKIT=1 BUILDKIT_PROGRESS=plain BUILDX_NO_DEFAULT_ATTESTATIONS=1

registry=${SLIPWAY_IMAGE%%/*}
cache=${SLIPWAY_IMAGE%:*}:cache

# Docker trusts a registry on this machine by itself; `docker manifest` wants to be told.
insecure=()
case $registry in 127.0.0.1:* | localhost:*) insecure=(--insecure) ;; esac

there() { docker manifest inspect "${insecure[@]}" "$1" >/dev/null 2>&1; }

case $1 in
login)
  aws ecr get-login-password --region "$SLIPWAY_REGISTRY_REGION" |
    docker login --username AWS --password-stdin "$registry"
  ;;
build)
  if there "$SLIPWAY_IMAGE"; then
    echo "$SLIPWAY_IMAGE is there already."
    exit
  fi
  mkdir context
  tar -xpf context.tar -C context
  mapfile -d '' -t arguments <arguments
  if there "$cache"; then
    arguments+=(--cache-from "$cache")
  fi
  # The cache becomes part of the image, the one kind that docker's own builder can keep in a registry:
  # https://docs.docker.com/build/cache/backends/inline/
  docker build --tag "$SLIPWAY_IMAGE" --file Dockerfile --build-arg BUILDKIT_INLINE_CACHE=1 "${arguments[@]}" context
  ;;
push)
  if there "$SLIPWAY_IMAGE"; then
    exit
  fi
  docker push "$SLIPWAY_IMAGE"
  { docker tag "$SLIPWAY_IMAGE" "$cache" && docker push "$cache"; } || echo "The cache was not kept."
  ;;
esac
"""
