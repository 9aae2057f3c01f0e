// go-libp2p with its stock parts, told what to do by tests/stock_peers.py: one JSON object a line, in and out.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"sync"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

const (
	protocolID    = "/retrieval/session/1.0.0"
	patternPeriod = 251
	pieceBytes    = 64 * patternPeriod
)

type question struct {
	ID      int    `json:"id"`
	Verb    string `json:"verb"`
	Address string `json:"address"`
	Stream  int    `json:"stream"`
	NBytes  int64  `json:"n_bytes"`
}

type answer map[string]any

type node struct {
	host     host.Host
	accepted chan network.Stream

	lock    sync.Mutex
	streams []network.Stream
}

func main() {
	h, err := libp2p.New(
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.DisableRelay(),
		libp2p.ResourceManager(&network.NullResourceManager{}), // the stock one counts connections of one address
	)
	if err != nil {
		log.Fatal(err)
	}
	n := &node{host: h, accepted: make(chan network.Stream, 64)}
	h.SetStreamHandler(protocolID, func(s network.Stream) { n.accepted <- s })

	var speaking sync.Mutex
	say := func(words answer) {
		speaking.Lock()
		defer speaking.Unlock()
		if err := json.NewEncoder(os.Stdout).Encode(words); err != nil {
			log.Fatal(err)
		}
	}
	say(answer{"address": fmt.Sprintf("%s/p2p/%s", h.Addrs()[0], h.ID())})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var q question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			log.Fatal(err)
		}
		go func() {
			found, err := n.do(q)
			if err != nil {
				found = answer{"error": err.Error()}
			}
			found["id"] = q.ID
			say(found)
		}()
	}
}

func (n *node) do(q question) (answer, error) {
	ctx := context.Background()
	switch q.Verb {
	case "open":
		id, err := n.connect(ctx, q.Address)
		if err != nil {
			return nil, err
		}
		// A protocol that is known of a peer is proposed with the first byte only, and whether it was taken would be heard later still.
		if err := n.host.Peerstore().RemoveProtocols(id, protocolID); err != nil {
			return nil, err
		}
		s, err := n.host.NewStream(ctx, id, protocolID)
		if err != nil {
			return nil, err
		}
		return n.adopt(s), nil
	case "accept":
		return n.adopt(<-n.accepted), nil
	case "send":
		return answer{}, send(n.stream(q), q.NBytes)
	case "receive":
		return receive(n.stream(q), q.NBytes)
	case "close":
		return answer{}, n.stream(q).CloseWrite()
	case "reset":
		return answer{}, n.stream(q).Reset()
	case "ping":
		id, err := n.connect(ctx, q.Address)
		if err != nil {
			return nil, err
		}
		result := <-ping.Ping(ctx, n.host, id)
		return answer{"seconds": result.RTT.Seconds()}, result.Error
	case "connections":
		return answer{"n_open": len(n.host.Network().Conns())}, nil
	}
	return nil, fmt.Errorf("no verb %q", q.Verb)
}

func (n *node) connect(ctx context.Context, address string) (peer.ID, error) {
	info, err := peer.AddrInfoFromString(address)
	if err != nil {
		return "", err
	}
	return info.ID, n.host.Connect(ctx, *info)
}

func (n *node) adopt(s network.Stream) answer {
	n.lock.Lock()
	defer n.lock.Unlock()
	n.streams = append(n.streams, s)
	return answer{"stream": len(n.streams) - 1}
}

func (n *node) stream(q question) network.Stream {
	n.lock.Lock()
	defer n.lock.Unlock()
	return n.streams[q.Stream]
}

func send(s network.Stream, nBytes int64) error {
	piece := make([]byte, pieceBytes)
	for i := range piece {
		piece[i] = byte(i % patternPeriod)
	}
	for left := nBytes; left > 0; left -= pieceBytes {
		if _, err := s.Write(piece[:min(left, pieceBytes)]); err != nil {
			return err
		}
	}
	return nil
}

func receive(s network.Stream, nBytes int64) (answer, error) {
	hash := sha256.New()
	n, err := io.CopyN(hash, s, nBytes)
	end := "open"
	if errors.Is(err, io.EOF) {
		end = "clean"
	} else if err != nil {
		end = "broken"
	}
	return answer{"n_bytes": n, "sha256": hex.EncodeToString(hash.Sum(nil)), "end": end}, nil
}
