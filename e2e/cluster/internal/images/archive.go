// Package images makes container images out of static programs, and loads images into the nodes.
// There is no registry and no build tool: an image is a tar file, written here byte by byte the
// same for the same content.
package images

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// User is who programs in images run as: nobody in particular, but not root.
const User = 65532

// Annotations of an image's name in an archive: the first is read by containerd, the second by
// everyone else.
const (
	nameAnnotation    = "io.containerd.image.name"
	refNameAnnotation = "org.opencontainers.image.ref.name"
)

const (
	indexType    = "application/vnd.oci.image.index.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

// File is one file of an image.
type File struct {
	// Source is where it is read, Destination its absolute path in the image.
	Source, Destination string
}

// ParseFile reads SRC:DEST.
func ParseFile(text string) (File, error) {
	source, destination, found := strings.Cut(text, ":")
	if !found || source == "" || !path.IsAbs(destination) || strings.HasSuffix(destination, "/") {
		return File{}, fmt.Errorf("--add %q: write SRC:DEST with an absolute file path as DEST, such as ca.pem:/etc/ssl/certs/ca.pem", text)
	}
	return File{Source: source, Destination: path.Clean(destination)}, nil
}

// FullName completes an image's name as container tools do: rtc-fleet/operator:1 is
// docker.io/rtc-fleet/operator:1. A tag is demanded, because `latest` would be pulled anew.
func FullName(name string) (string, error) {
	last := name[strings.LastIndex(name, "/")+1:]
	repository, tag, found := strings.Cut(last, ":")
	if !found || repository == "" || tag == "" || strings.ContainsAny(name, "@ ") {
		return "", fmt.Errorf("--tag %q: write NAME:TAG, such as rtc-fleet/operator:dev", name)
	}
	first, _, several := strings.Cut(name, "/")
	switch {
	case several && (strings.ContainsAny(first, ".:") || first == "localhost"):
		return name, nil
	case several:
		return "docker.io/" + name, nil
	default:
		return "docker.io/library/" + name, nil
	}
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType,omitempty"`
	Manifests     []descriptor `json:"manifests"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type imageConfig struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Config       struct {
		User       string   `json:"User"`
		Entrypoint []string `json:"Entrypoint"`
		WorkingDir string   `json:"WorkingDir"`
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// Build writes an OCI archive with a program as entrypoint, at /<its file name>, and other files
// beside it. It gives the image's digest.
func Build(archive, name, binary string, others []File) (string, error) {
	entrypoint := "/" + filepath.Base(binary)
	layer, err := layerOf(append([]File{{Source: binary, Destination: entrypoint}}, others...))
	if err != nil {
		return "", err
	}
	var config imageConfig
	config.Architecture, config.OS = runtime.GOARCH, "linux"
	config.Config.User = fmt.Sprintf("%d:%d", User, User)
	config.Config.Entrypoint = []string{entrypoint}
	config.Config.WorkingDir = "/"
	config.RootFS.Type = "layers"
	config.RootFS.DiffIDs = []string{digest(layer)}
	configBlob, err := json.Marshal(config)
	if err != nil {
		return "", err
	}
	manifestBlob, err := json.Marshal(manifest{
		SchemaVersion: 2, MediaType: manifestType,
		Config: describe(configType, configBlob), Layers: []descriptor{describe(layerType, layer)},
	})
	if err != nil {
		return "", err
	}
	image := describe(manifestType, manifestBlob)
	image.Annotations = map[string]string{nameAnnotation: name, refNameAnnotation: name}
	indexBlob, err := json.Marshal(index{SchemaVersion: 2, MediaType: indexType, Manifests: []descriptor{image}})
	if err != nil {
		return "", err
	}
	return image.Digest, writeArchive(archive, [][]byte{configBlob, manifestBlob, layer}, indexBlob)
}

func writeArchive(path string, blobs [][]byte, index []byte) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(file.Name())
		}
	}()
	archive := tar.NewWriter(file)
	entries := []entry{
		{path: "oci-layout", mode: 0o644, content: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{path: "index.json", mode: 0o644, content: index},
		{path: "blobs/", mode: 0o755},
		{path: "blobs/sha256/", mode: 0o755},
	}
	for _, blob := range blobs {
		entries = append(entries, entry{path: "blobs/sha256/" + strings.TrimPrefix(digest(blob), "sha256:"), mode: 0o644, content: blob})
	}
	if err := writeEntries(archive, entries); err != nil {
		return err
	}
	if err := archive.Close(); err != nil {
		return err
	}
	if err := file.Chmod(0o644); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// layerOf makes the image's only layer: the files and the folders that lead to them.
func layerOf(files []File) ([]byte, error) {
	folders, seen := map[string]bool{}, map[string]bool{}
	var entries []entry
	for _, file := range files {
		if seen[file.Destination] {
			return nil, fmt.Errorf("--add: two files for %s: give each its own place", file.Destination)
		}
		seen[file.Destination] = true
		info, err := os.Stat(file.Source)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is not a file: name each file of a folder by itself", file.Source)
		}
		content, err := os.ReadFile(file.Source)
		if err != nil {
			return nil, err
		}
		mode := int64(0o644)
		if info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		entries = append(entries, entry{path: strings.TrimPrefix(file.Destination, "/"), mode: mode, content: content})
		for folder := path.Dir(file.Destination); folder != "/"; folder = path.Dir(folder) {
			folders[strings.TrimPrefix(folder, "/")+"/"] = true
		}
	}
	for folder := range folders {
		entries = append(entries, entry{path: folder, mode: 0o755})
	}
	// A folder sorts before what is in it.
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.path, b.path) })
	var layer bytes.Buffer
	writer := tar.NewWriter(&layer)
	if err := writeEntries(writer, entries); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return layer.Bytes(), nil
}

type entry struct {
	path    string
	mode    int64
	content []byte
}

// writeEntries leaves out everything that differs from machine to machine: times, owners, names.
func writeEntries(writer *tar.Writer, entries []entry) error {
	for _, each := range entries {
		header := &tar.Header{Name: each.path, Mode: each.mode, Size: int64(len(each.content)), ModTime: time.Unix(0, 0), Typeflag: tar.TypeReg}
		if strings.HasSuffix(each.path, "/") {
			header.Typeflag = tar.TypeDir
		}
		if err := writer.WriteHeader(header); err != nil {
			return err
		}
		if _, err := writer.Write(each.content); err != nil {
			return err
		}
	}
	return nil
}

func describe(mediaType string, blob []byte) descriptor {
	return descriptor{MediaType: mediaType, Digest: digest(blob), Size: int64(len(blob))}
}

func digest(blob []byte) string {
	sum := sha256.Sum256(blob)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Contents gives the images of an OCI archive, digest by name. An archive of another kind has none
// that can be known before it is loaded.
func Contents(archive string) (map[string]string, error) {
	file, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	reader := tar.NewReader(file)
	for {
		header, err := reader.Next()
		if err == io.EOF {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s is not an image archive (OCI or docker tar): %w", archive, err)
		}
		if path.Clean(header.Name) != "index.json" {
			continue
		}
		var content index
		if err := json.NewDecoder(reader).Decode(&content); err != nil {
			return nil, fmt.Errorf("%s: index.json: %w", archive, err)
		}
		images := map[string]string{}
		for _, image := range content.Manifests {
			name := image.Annotations[nameAnnotation]
			if name == "" {
				name = image.Annotations[refNameAnnotation]
			}
			images[name] = image.Digest
		}
		return images, nil
	}
}
