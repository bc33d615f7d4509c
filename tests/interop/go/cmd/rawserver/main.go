// Rawserver answers calls by hand, without a library for gRPC, so that nothing is hidden: its
// response says which `grpc-encoding` the request had and what the flags of its messages were, in
// messages that are compressed with gzip where the caller accepts that.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"interop.example/peers/internal/peer"
)

type seen struct {
	Encoding string `json:"encoding"`
	Accepted bool   `json:"accepts_gzip"`
	Flags    string `json:"flags"`
	Bytes    int    `json:"bytes"`
}

func main() {
	addr := flag.String("listen", "127.0.0.1:0", "the address to listen on")
	peer.Serve(func(ctx context.Context) error {
		lis, err := peer.Listen(*addr)
		if err != nil {
			return err
		}
		var protocols http.Protocols
		protocols.SetUnencryptedHTTP2(true)
		server := http.Server{
			Handler:           http.HandlerFunc(answer),
			Protocols:         &protocols,
			ReadHeaderTimeout: time.Minute,
		}
		context.AfterFunc(ctx, func() { _ = server.Close() })
		return server.Serve(lis)
	})
}

func answer(w http.ResponseWriter, r *http.Request) {
	s, err := read(r)
	head, end := w.Header(), http.TrailerPrefix+"Grpc-Status"
	head.Set("Content-Type", "application/grpc")
	if s.Accepted {
		head.Set("Grpc-Encoding", "gzip")
	}
	// Nothing that only net/http adds.
	head["Date"] = nil
	if err == nil {
		err = http.NewResponseController(w).Flush()
	}
	if err == nil {
		err = write(w, s)
	}
	if err != nil {
		head.Set(end, "13")
		head.Set(http.TrailerPrefix+"Grpc-Message", err.Error())
		return
	}
	head.Set(end, "0")
}

// read takes the messages of a request. What is compressed is decompressed.
func read(r *http.Request) (seen, error) {
	s := seen{
		Encoding: r.Header.Get("Grpc-Encoding"),
		Accepted: strings.Contains(strings.Join(r.Header.Values("Grpc-Accept-Encoding"), ","), "gzip"),
	}
	for {
		var prefix [5]byte
		if _, err := io.ReadFull(r.Body, prefix[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return s, nil
			}
			return s, err
		}
		message := io.LimitReader(r.Body, int64(binary.BigEndian.Uint32(prefix[1:])))
		if prefix[0] == 1 {
			plain, err := gzip.NewReader(message)
			if err != nil {
				return s, err
			}
			message = plain
		}
		size, err := io.Copy(io.Discard, message)
		if err != nil {
			return s, err
		}
		s.Flags += fmt.Sprint(prefix[0])
		s.Bytes += int(size)
	}
}

// write says what was seen in two messages: one that is compressed, if it may be, and one that is not.
func write(w io.Writer, s seen) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	for _, compressed := range []bool{s.Accepted, false} {
		message, flagged := text, byte(0)
		if compressed {
			var packed bytes.Buffer
			packer := gzip.NewWriter(&packed)
			if _, err := packer.Write(text); err != nil {
				return err
			}
			if err := packer.Close(); err != nil {
				return err
			}
			message, flagged = packed.Bytes(), 1
		}
		prefix := binary.BigEndian.AppendUint32([]byte{flagged}, uint32(len(message)))
		if _, err := w.Write(append(prefix, message...)); err != nil {
			return err
		}
	}
	return nil
}
