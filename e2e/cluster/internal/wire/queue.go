package wire

import (
	"container/heap"
	"sync"
	"time"
)

type packet struct {
	bytes   []byte
	arrives time.Time
	// number tells packets apart that arrive at the same time: they keep their order.
	number uint64
}

// queue holds packets until they arrive. One goroutine pushes and one pops.
type queue struct {
	lock    sync.Mutex
	packets byArrival
	pushed  uint64
	limit   int
	// earlier wakes the popping side: there is a packet before the one that it waits for.
	earlier chan struct{}
}

func newQueue(limit int) *queue {
	return &queue{limit: limit, earlier: make(chan struct{}, 1)}
}

// push adds a packet. While the queue is full, packets are lost, as in a router.
func (q *queue) push(next packet) {
	q.lock.Lock()
	defer q.lock.Unlock()
	if len(q.packets) >= q.limit {
		return
	}
	q.pushed++
	next.number = q.pushed
	heap.Push(&q.packets, next)
	if q.packets[0].number == next.number {
		select {
		case q.earlier <- struct{}{}:
		default: // it is awake already
		}
	}
}

// pop waits until a packet arrives.
func (q *queue) pop() packet {
	for {
		next, wait := q.due(time.Now())
		if wait == 0 {
			return next
		}
		timer := time.NewTimer(wait)
		select {
		case <-q.earlier:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// An empty queue is looked at again after this, or at once when a packet comes.
const idle = time.Hour

// due takes the first packet if it has arrived, or says how long that takes.
func (q *queue) due(now time.Time) (packet, time.Duration) {
	q.lock.Lock()
	defer q.lock.Unlock()
	if len(q.packets) == 0 {
		return packet{}, idle
	}
	if wait := q.packets[0].arrives.Sub(now); wait > 0 {
		return packet{}, wait
	}
	return heap.Pop(&q.packets).(packet), 0
}

type byArrival []packet

func (p byArrival) Len() int { return len(p) }
func (p byArrival) Less(a, b int) bool {
	if p[a].arrives.Equal(p[b].arrives) {
		return p[a].number < p[b].number
	}
	return p[a].arrives.Before(p[b].arrives)
}
func (p byArrival) Swap(a, b int) { p[a], p[b] = p[b], p[a] }
func (p *byArrival) Push(x any)   { *p = append(*p, x.(packet)) }
func (p *byArrival) Pop() any {
	last := len(*p) - 1
	popped := (*p)[last]
	(*p)[last] = packet{} // the bytes are not kept alive by the queue
	*p = (*p)[:last]
	return popped
}
