# shellcheck shell=bash
# The demo of dev/up: an order, the guide's seven calls against it in the guide's order, and the page they lead to.

DEMO_ORDER_FILE=$STACK_HOME/vkube/demo-order.json
DEMO_IMAGE=nginx DEMO_TAG=stable
ANSWER_SHOWN=5000

# quoted ARGUMENT...: as one would type it.
quoted() {
  local argument line=''
  for argument; do
    if [[ $argument =~ ^[A-Za-z0-9_./:=@,%+-]+$ ]]; then line+=" $argument"; else line+=" '${argument//\'/\'\\\'\'}'"; fi
  done
  printf '%s' "${line# }"
}

# call CURL ARGUMENT...: shows the curl line and the answer, keeps the answer in ANSWER and its status in STATUS.
call() {
  local output
  printf '\n$ curl %s\n' "$(quoted "$@")"
  output=$(curl -sS -m 70 -w '\n%{http_code}' "$@") || fail_of api "the api did not answer"
  ANSWER=${output%$'\n'*}
  STATUS=${output##*$'\n'}
  printf '%s\n' "${ANSWER:0:ANSWER_SHOWN}"
  if [ ${#ANSWER} -gt "$ANSWER_SHOWN" ]; then printf '... (%d characters in all)\n' "${#ANSWER}"; fi
}

# guide_call SERVER TITLE EXPECTED-STATUS CURL ARGUMENT...: SERVER is the one whose log explains another status.
guide_call() {
  local server=$1 title=$2 expected=$3
  shift 3
  printf '\n--- %s' "$title"
  call "$@"
  if [ "$STATUS" != "$expected" ]; then fail_of "$server" "the demo's call '$title' was answered with $STATUS instead of $expected"; fi
}

# operator_call PATH BODY: a call of the operator's.
operator_call() {
  call "$API_URL/api/v1/admin/orders$1" -H "Authorization: Bearer $(<"$OPERATOR_TOKEN_FILE")" -H 'Content-Type: application/json' -d "$2"
}

# demo_status SECRET: where the order stands in its life; nothing if the secret opens none.
demo_status() { curl -sf -m 10 -H "secret: $1" "$API_URL/api/v1/k8s/userService" | jq -r .status || true; }

# The secret is shown once, so it is kept. An order whose time is over holds the demo's port: it is extended. Where it was
# aborted or deleted, or the api knows of none (a purge), there is a new one.
make_demo_order() {
  if [ -s "$DEMO_ORDER_FILE" ]; then
    case $(demo_status "$(jq -r .secret "$DEMO_ORDER_FILE")") in
      ServicePending | ServiceRunning | ServiceStop)
        printf '\n--- The order of an earlier run is still there (dev/down --purge forgets it)\n'
        return
        ;;
      ServiceDone)
        printf "\n--- The time of an earlier run's order is over: the operator extends it"
        operator_call "/$(jq -r .order.id "$DEMO_ORDER_FILE")/extend" '{"hours":100}'
        if [ "$STATUS" = 200 ]; then return; fi
        ;;
    esac
  fi
  printf '\n--- An order, as the operator makes it'
  operator_call '' '{"serviceOptions":{"resourceUnit":"2-Unit-Resource","portSpecification":"User Specified Service Port"},"duration":100}'
  if [ "$STATUS" != 201 ]; then fail_of api "the demo order was refused ($STATUS)"; fi
  (umask 077 && printf '%s\n' "$ANSWER" >"$DEMO_ORDER_FILE")
}

demo_page() { curl -sf -m 5 "http://127.0.0.1:$DEMO_PORT/"; }

# What a cluster elsewhere serves on its nodes cannot be fetched from here.
demo_page_is_here() { [ ! -e "$GIVEN_CLUSTER_FILE" ]; }

play_demo() {
  local api=$API_URL/api/v1/k8s json='Content-Type: application/json' secret order
  make_demo_order
  secret=$(jq -r .secret "$DEMO_ORDER_FILE")
  order=$(jq -r .order.id "$DEMO_ORDER_FILE")
  guide_call api "Query valid regions" 200 "$api/regions"
  guide_call api "Check if image exist" 200 "$api/images?image=$DEMO_IMAGE&tag=$DEMO_TAG"
  guide_call api "Host port occupation validation" 200 "$api/checkports" -H "$json" \
    -d "{\"region\":\"$REGION\",\"ports\":[$DEMO_PORT,3306],\"userServiceID\":\"$order\"}"
  if jq -e --argjson port "$DEMO_PORT" '.occupied | index($port) != null' <<<"$ANSWER" >/dev/null; then
    fail "host port $DEMO_PORT, which the demo deploys to, is taken by another order or process: VKUBE_DEV_DEMO_PORT=PORT moves the demo, --no-demo leaves it out"
  fi
  guide_call api "Query order information" 200 "$api/order" -H "secret: $secret"
  guide_call worker "Pod deployment" 200 "$api/deploy" -H "secret: $secret" -H "$json" \
    -d "{\"nodeSelector\":{\"region\":\"$REGION\"},\"containers\":[{\"name\":\"container1\",\"imageName\":\"$DEMO_IMAGE\",\"ports\":[{\"containerPort\":80,\"hostPort\":$DEMO_PORT}],\"resource\":{\"memory\":\"100Mi\"}}]}"
  if demo_page_is_here; then await worker 90 "the demo's page on port $DEMO_PORT" demo_page; fi
  guide_call worker "Query pod log" 200 "$api/pod/log" -H "secret: $secret"
  guide_call worker "Query pod status data" 200 "$api/pod/status" -H "secret: $secret"
  if demo_page_is_here; then
    printf '\n--- The page'
    call "http://127.0.0.1:$DEMO_PORT/"
  fi
}
