// The programs inside the images that the local registry serves; they need nothing but Go's own library.
module vkube.dev/dev/servers/images

go 1.26.0
