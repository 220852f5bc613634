# shellcheck shell=bash
# The images that the registries serve, made from busybox, a few scripts and the programs of dev/servers/images.

crane() { DOCKER_CONFIG=$STACK_HOME/images/login "$(server_dir registry)/crane" "$@" 2>>"$(log_file images)"; }

# layer NAME FOLDER: a tar of the folder, the same bytes whenever the content is the same.
layer() {
  tar -C "$2" --mode=a+rX --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$STACK_HOME/images/$1.tar" .
}

# publish IMAGE LAYER [MUTATE FLAG...]: an image for linux/amd64 upon the busybox one.
publish() {
  local image=$1 layer=$2
  shift 2
  crane append -b "$REGISTRY/library/busybox:1" -f "$STACK_HOME/images/$layer.tar" -t "$REGISTRY/library/$image" >/dev/null &&
    crane mutate "$REGISTRY/library/$image" -t "$REGISTRY/library/$image" --set-platform linux/amd64 "$@" >/dev/null
}

# publish_program FILE: an image of that program, with the libraries that it is linked to; prints the registry's name and its digest.
publish_program() {
  local name work library
  name=$(basename "$1")
  work=$STACK_HOME/images/$name
  rm -rf "$work"
  mkdir -p "$work/etc/ssl/certs"
  strip --strip-debug -o "$work/$name" "$1"
  ldd "$1" | grep -o '/[^ ]*' | while read -r library; do (cd / && cp --parents --dereference "${library#/}" "$work"); done
  cp /etc/ssl/certs/ca-certificates.crt "$work/etc/ssl/certs/"
  layer "$name" "$work"
  publish "$name:latest" "$name" --entrypoint="/$name" --user=65532:65532 ||
    fail "an image of $name could not be made" "$(log_file images)"
  printf '%s@%s\n' "$REGISTRY/library/$name" "$(crane digest "$REGISTRY/library/$name:latest")"
  rm -rf "$work" "$work.tar"
}

make_layers() {
  local work=$STACK_HOME/images applet name
  if [ -f "$work/made-from" ] && [ "$(<"$work/made-from")" = "$(server_dir images)" ]; then return; fi
  rm -rf "$work"
  mkdir -p "$work/busybox/bin" "$work/busybox/tmp" "$work/busybox/etc"
  chmod 1777 "$work/busybox/tmp"
  cp /bin/busybox "$work/busybox/bin/busybox"
  for applet in $(/bin/busybox --list); do
    if [ "$applet" != busybox ]; then ln -s busybox "$work/busybox/bin/$applet"; fi
  done
  printf 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$work/busybox/etc/passwd"
  layer busybox "$work/busybox"
  for name in pause udp-echo; do
    mkdir -p "$work/$name/bin"
    cp "$(server_dir images)/$name" "$work/$name/bin/"
    layer "$name" "$work/$name"
  done
  for name in web counter; do layer "$name" "$STACK_DIR/../servers/images/$name"; done
  server_dir images >"$work/made-from"
}

publish_all() {
  local web=(--entrypoint=/docker-entrypoint.sh --exposed-ports=80/tcp) tag busybox=$REGISTRY/library/busybox:1
  crane append --oci-empty-base -f "$STACK_HOME/images/busybox.tar" -t "$busybox" >/dev/null || return 1
  crane mutate "$busybox" -t "$busybox" --set-platform linux/amd64 --cmd=/bin/sh >/dev/null || return 1
  crane tag "$busybox" latest || return 1
  publish pause:1 pause --entrypoint=/bin/pause || return 1
  publish web:1 web "${web[@]}" --env=PAGE=web-1 || return 1
  publish web:2 web "${web[@]}" --env=PAGE=web-2 || return 1
  publish nginx:latest web "${web[@]}" --env=PAGE=nginx || return 1
  for tag in stable 1; do crane tag "$REGISTRY/library/nginx:latest" "$tag" || return 1; done
  publish udp-echo:1 udp-echo --entrypoint=/bin/udp-echo || return 1
  publish counter:1 counter --entrypoint=/counter.sh || return 1
  # For the question whether an image runs on linux/amd64: one that does not, and lists with and without it.
  publish arm64-only:1 counter --entrypoint=/counter.sh --set-platform=linux/arm64 || return 1
  crane index append -m "$REGISTRY/library/arm64-only:1" -t "$REGISTRY/library/arm64-list:1" >/dev/null || return 1
  crane index append -m "$REGISTRY/library/arm64-only:1" -m "$REGISTRY/library/web:1" -t "$REGISTRY/library/both:1" >/dev/null
}

push_public_images() {
  make_layers
  publish_all || fail "the images for the local registry could not be made" "$(log_file images)"
}

push_private_images() {
  if ! crane auth login "$PRIVATE_REGISTRY" -u "$PRIVATE_REGISTRY_USERNAME" -p "$PRIVATE_REGISTRY_PASSWORD" ||
    ! crane copy "$REGISTRY/library/web:1" "$PRIVATE_REGISTRY/private/web:1" ||
    ! crane copy "$REGISTRY/library/udp-echo:1" "$PRIVATE_REGISTRY/private/udp-echo:1"; then
    fail "the images for the private registry could not be copied" "$(log_file images)"
  fi
}
