# What stands between an empty data folder and `slipway up`; done again at each start, and then it changes nothing.
#
# usage: sh prepare.sh FOLDER [QUEUE OPTIONS OF slipway import...]      FOLDER holds launch-config.yaml, queue-*.yaml
set -eu
# The first process of a container is not ended by a signal that it does not expect.
trap 'exit 143' TERM
folder=$1
shift

# `slipway up` serves nobody while there is no key. This one is thrown away, so it opens nothing; people make theirs with
# `slipway key create` in the pod.
keys=$(slipway key list -o json)
if [ "$keys" = "[]" ]; then
  slipway key create "so that the API starts; nobody has it" --entity nobody >/dev/null 2>&1
fi
if [ $# -gt 0 ]; then
  slipway import "$folder/launch-config.yaml" --resource kubernetes "$@"
fi
for queue in "$folder"/queue-*.yaml; do
  [ ! -e "$queue" ] || slipway queue apply "$queue"
done
