package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	initialKey  = "x-grpc-test-echo-initial"
	trailingKey = "x-grpc-test-echo-trailing-bin"
)

// check makes one call after the other: this version gives out stream ids and sends the frames that
// open the streams under different locks, so concurrent calls may reach the wire out of order.
func check(ctx context.Context, channel grpc.ClientConnInterface) error {
	service := grpc_testing.NewTestServiceClient(channel)
	for _, step := range []struct {
		name string
		run  func(context.Context, grpc_testing.TestServiceClient) error
	}{{"unary", unary}, {"bidi", bidi}, {"failure", failure}} {
		if err := step.run(ctx, service); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Println("ok", step.name)
	}
	return nil
}

// unary sends messages of which the largest takes many chunks, and checks the zeros that the
// official service answers, and the metadata that it sends back.
func unary(ctx context.Context, service grpc_testing.TestServiceClient) error {
	ctx = metadata.AppendToOutgoingContext(ctx, initialKey, "initial", trailingKey, "trailing ☂")
	for _, size := range []int{0, 1, 16_384, 200_000} {
		var header, trailer metadata.MD
		resp, err := service.UnaryCall(ctx, &grpc_testing.SimpleRequest{
			Payload:      &grpc_testing.Payload{Body: make([]byte, size)},
			ResponseSize: int32(size),
		}, grpc.Header(&header), grpc.Trailer(&trailer))
		if err != nil {
			return fmt.Errorf("%d bytes: %w", size, err)
		}
		if !bytes.Equal(resp.GetPayload().GetBody(), make([]byte, size)) {
			return fmt.Errorf("the response is not %d zeros but %d bytes", size, len(resp.GetPayload().GetBody()))
		}
		if h, t := header.Get(initialKey), trailer.Get(trailingKey); len(h) != 1 || h[0] != "initial" || len(t) != 1 || t[0] != "trailing ☂" {
			return fmt.Errorf("headers have %q, trailers have %q", h, t)
		}
	}
	return nil
}

// bidi exchanges messages one by one, and expects a clean end after the half-close.
func bidi(ctx context.Context, service grpc_testing.TestServiceClient) error {
	stream, err := service.FullDuplexCall(ctx)
	if err != nil {
		return err
	}
	for _, size := range []int{1, 70_000, 0, 200_000} {
		err := stream.Send(&grpc_testing.StreamingOutputCallRequest{
			Payload:            &grpc_testing.Payload{Body: make([]byte, size)},
			ResponseParameters: []*grpc_testing.ResponseParameters{{Size: int32(size)}},
		})
		if err != nil {
			return fmt.Errorf("sending %d bytes: %w", size, err)
		}
		resp, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("receiving %d bytes: %w", size, err)
		}
		if !bytes.Equal(resp.GetPayload().GetBody(), make([]byte, size)) {
			return fmt.Errorf("the response is not %d zeros but %d bytes", size, len(resp.GetPayload().GetBody()))
		}
	}
	if err := stream.CloseSend(); err != nil {
		return fmt.Errorf("half-closing: %w", err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the end is %v", err)
	}
	return nil
}

// failure asks for a status and expects it, and that the tunnel goes on.
func failure(ctx context.Context, service grpc_testing.TestServiceClient) error {
	_, err := service.UnaryCall(ctx, &grpc_testing.SimpleRequest{
		ResponseStatus: &grpc_testing.EchoStatus{Code: int32(codes.Aborted), Message: "as asked"},
	})
	if st := status.Convert(err); st.Code() != codes.Aborted || st.Message() != "as asked" {
		return fmt.Errorf("the call ended with %v", err)
	}
	_, err = service.EmptyCall(ctx, &grpc_testing.Empty{})
	return err
}
