package main

import (
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
)

// Starting on an empty or a small store takes a fraction of a second.
const etcdStartLimit = time.Minute

// runEtcd serves one member without fsync: the store lives as long as the cluster, and a crash of
// the machine ends both.
func runEtcd() int {
	flags := flag.NewFlagSet("etcd", flag.ExitOnError)
	dataDir := flags.String("data-dir", "", "folder of the store")
	clientURL := flags.String("client-url", "", "URL to serve clients on")
	peerURL := flags.String("peer-url", "", "URL for other members, which there are not")
	cert := flags.String("cert", "", "server certificate")
	key := flags.String("key", "", "key of the server certificate")
	clientCA := flags.String("client-ca", "", "authority that clients' certificates must be signed by")
	_ = flags.Parse(os.Args[1:]) // exits on an error
	if err := serveEtcd(*dataDir, *clientURL, *peerURL, transport.TLSInfo{
		CertFile: *cert, KeyFile: *key, TrustedCAFile: *clientCA, ClientCertAuth: true,
	}); err != nil {
		fmt.Fprintf(os.Stderr, "etcd: %v\n", err)
		return 1
	}
	return 0
}

func serveEtcd(dataDir, clientURL, peerURL string, tls transport.TLSInfo) error {
	client, err := url.Parse(clientURL)
	if err != nil {
		return err
	}
	peer, err := url.Parse(peerURL)
	if err != nil {
		return err
	}
	config := embed.NewConfig()
	config.Name = "rtc-cluster"
	config.Dir = dataDir
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.ClientTLSInfo = tls
	config.UnsafeNoFsync = true
	config.LogLevel = "warn"

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer etcd.Close()
	select {
	case <-etcd.Server.ReadyNotify():
	case <-time.After(etcdStartLimit):
		return fmt.Errorf("not ready after %v", etcdStartLimit)
	}
	select {
	case <-signals:
		return nil
	case err := <-etcd.Err():
		return err
	}
}
