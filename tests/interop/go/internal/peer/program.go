// Package peer holds what every program of this module does the same way: it lives for a bounded
// time, fails in one way, and says in one line when it can be used.
package peer

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

var timeout = flag.Duration("timeout", 60*time.Second, "the longest that this program may live")

// Check runs a program that proves something: it must come to its end in time. The exit code is 0
// when check returns nil, else 1 with the reason on stderr.
func Check(check func(ctx context.Context) error) {
	flag.Parse()
	// The official interop functions cannot be relied upon to watch a context.
	time.AfterFunc(*timeout, func() { Fail(fmt.Errorf("not finished after %v", *timeout)) })
	if err := check(context.Background()); err != nil {
		Fail(err)
	}
	fmt.Println("ok")
}

// Serve runs a program that others use: its context ends when its time is over, or on SIGTERM or
// SIGINT, and that is a success.
func Serve(serve func(ctx context.Context) error) {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	if err := serve(ctx); err != nil && ctx.Err() == nil {
		Fail(err)
	}
}

// Fail ends the program with exit code 1 and says why.
func Fail(err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
	os.Exit(1)
}

// Listen listens on a TCP address and says so in one line.
func Listen(addr string) (net.Listener, error) {
	lis, err := net.Listen("tcp", addr)
	if err == nil {
		fmt.Printf("listening %s\n", lis.Addr())
	}
	return lis, err
}
