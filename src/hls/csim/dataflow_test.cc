// The C simulation itself: streams are bounded and in order, stages that wait for each other are found and named,
// leftovers too, and a fault leaves nothing behind that hinders the next run.

#include "hls/csim/dataflow.h"

#include <ap_int.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hls_stream.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using phidias::hls::csim::NameKernel;
using phidias::hls::csim::Region;
using phidias::hls::csim::YieldToOthers;
using testing::AllOf;
using testing::HasSubstr;

void Produce(int count, hls::stream<int>& out) {
  for (int i = 0; i < count; ++i) {
    out.write(i);
  }
}

void Sum(int count, hls::stream<int>& in, int64_t* sum) {
  for (int i = 0; i < count; ++i) {
    *sum += in.read();
  }
}

// What a region with the given stages throws.
template <class Body>
std::string FaultOf(const Body& body) {
  try {
    body();
  } catch (const std::runtime_error& fault) {
    return fault.what();
  }
  return "no fault";
}

TEST(DataflowThreads, ElementsPassInOrderThroughStreamsOfAnyDepth) {
  constexpr int kCount = 2000;
  for (int repetition = 0; repetition < 4; ++repetition) {
    Region region;
    hls::stream<int, 1> first("first");
    hls::stream<int, 7> second("second");
    hls::stream<int> third("third");
    int64_t sum = 0;
    bool ordered = true;
    const auto produce = [&] { Produce(kCount, first); };
    const auto pass = [&] {
      for (int i = 0; i < kCount; ++i) {
        const int value = first.read();
        ordered = ordered && value == i;
        second.write(value);
      }
    };
    const auto pass_on = [&] {
      for (int i = 0; i < kCount; ++i) {
        third.write(second.read());
      }
    };
    const auto consume = [&] { Sum(kCount, third, &sum); };
    region.AddStage("Produce(kCount, first)", produce);
    region.AddStage("Pass()", pass);
    region.AddStage("PassOn()", pass_on);
    region.AddStage("Sum()", consume);
    region.Run();
    EXPECT_TRUE(ordered);
    EXPECT_EQ(sum, int64_t{kCount} * (kCount - 1) / 2);
  }
}

TEST(DataflowThreads, RegionsRunSideBySide) {
  std::vector<std::thread> callers;
  std::vector<int64_t> sums(6);
  callers.reserve(sums.size());
  for (int64_t& sum : sums) {
    callers.emplace_back([&sum] {
      for (int repetition = 0; repetition < 50; ++repetition) {
        Region region;
        hls::stream<int, 3> numbers("numbers");
        const auto produce = [&] { Produce(100, numbers); };
        const auto consume = [&] { Sum(100, numbers, &sum); };
        region.AddStage("Produce()", produce);
        region.AddStage("Sum()", consume);
        region.Run();
      }
    });
  }
  for (std::thread& caller : callers) {
    caller.join();
  }
  EXPECT_THAT(sums, testing::Each(50 * 4950));
}

// One stage writes eight elements to `rows` before the first to `columns`, the other reads one of each in turn: that
// works if `rows` holds seven.
template <int kDepth>
void OneAfterTheOther() {
  NameKernel("two_streams");
  Region region;
  hls::stream<int, kDepth> rows("rows");
  hls::stream<int, 2> columns("columns");
  const auto write = [&] {
    Produce(8, rows);
    Produce(8, columns);
  };
  const auto read = [&] {
    for (int i = 0; i < 8; ++i) {
      columns.read();
      rows.read();
    }
  };
  region.AddStage("Write(rows, columns)", write);
  region.AddStage("Read<3>(rows, columns)", read);
  region.Run();
}

TEST(DataflowThreads, DepthThatWouldDeadlockIsReportedWithTheStreams) {
  EXPECT_THAT(FaultOf(OneAfterTheOther<7>),
              AllOf(HasSubstr("two_streams"), HasSubstr("Write writes full stream \"rows\" of 7 elements"),
                    HasSubstr("Read reads empty stream \"columns\"")));
  EXPECT_EQ(FaultOf(OneAfterTheOther<8>), "no fault");  // and the threads are fit for use again
}

TEST(DataflowThreads, ReaderThatOutlivesItsWriterIsReported) {
  NameKernel("short");
  EXPECT_THAT(FaultOf([] {
                Region region;
                hls::stream<int, 4> numbers("numbers");
                int64_t sum = 0;
                const auto produce = [&] { Produce(9, numbers); };
                const auto consume = [&] { Sum(10, numbers, &sum); };
                region.AddStage("Produce()", produce);
                region.AddStage("Sum()", consume);
                region.Run();
              }),
              AllOf(HasSubstr("short: "), HasSubstr("Sum reads empty stream \"numbers\"")));
}

TEST(DataflowThreads, LeftoverIsReportedWithTheStream) {
  NameKernel("long");
  EXPECT_EQ(FaultOf([] {
              Region region;
              hls::stream<int, 4> numbers("numbers");
              int64_t sum = 0;
              const auto produce = [&] { Produce(12, numbers); };
              const auto consume = [&] { Sum(10, numbers, &sum); };
              region.AddStage("Produce()", produce);
              region.AddStage("Sum()", consume);
              region.Run();
            }),
            "long: stream \"numbers\" still holds 2 elements after the last stage has ended");
}

// A unit with two stages between two plain ones; `kWords` words go through all of them.
template <int kWords, int kTaken>
void UnitWithinASystem() {
  NameKernel("system");
  Region region;
  hls::stream<int, 1> in("in");
  hls::stream<int, 1> out("out");
  int64_t sum = 0;
  const auto produce = [&] { Produce(kWords, in); };
  const auto unit = [&] {
    NameKernel("unit");
    Region inner;
    hls::stream<int, 1> between("between");
    const auto first = [&] {
      for (int i = 0; i < kWords; ++i) {
        between.write(in.read());
      }
    };
    const auto second = [&] {
      for (int i = 0; i < kWords; ++i) {
        out.write(between.read());
      }
    };
    inner.AddStage("First(in, between)", first);
    inner.AddStage("Second(between, out)", second);
    inner.Run();
  };
  const auto consume = [&] { Sum(kTaken, out, &sum); };
  region.AddStage("Produce(in)", produce);
  region.AddStage("unit()", unit);
  region.AddStage("Consume(out)", consume);
  region.Run();
  EXPECT_EQ(sum, int64_t{kWords} * (kWords - 1) / 2);
}

TEST(DataflowThreads, ARegionWithinAStageTakesTurnsWithTheOuterOne) {
  EXPECT_EQ(FaultOf(UnitWithinASystem<1000, 1000>), "no fault");
  EXPECT_THAT(FaultOf(UnitWithinASystem<20, 2>),
              AllOf(HasSubstr("system: the dataflow stages stall: "),
                    HasSubstr("unit.Second writes full stream \"out\" of 1 elements")));
  EXPECT_EQ(FaultOf(UnitWithinASystem<10, 10>), "no fault");
}

TEST(DataflowThreads, AStageThatPollsMemoryEndsWhenItIsToldTo) {
  EXPECT_THAT(FaultOf([] {
                NameKernel("poller");
                Region region;
                bool stop = false;
                int polls = 0;
                const auto poll = [&] {
                  for (;;) {
                    if (++polls == 3) {
                      stop = true;
                    }
                    YieldToOthers();
                  }
                };
                region.AddStage("Poll(memory)", poll);
                region.Run(&stop);
              }),
              AllOf(HasSubstr("poller: Poll"), HasSubstr("stopped while it waits for the host")));
}

TEST(Dataflow, StreamsOutsideOfRegionsDontWait) {
  hls::stream<int, 2> numbers("lonely");
  EXPECT_THAT(FaultOf([&] { numbers.read(); }), HasSubstr("stream \"lonely\" is read while empty"));
  Produce(2, numbers);
  EXPECT_TRUE(numbers.full());
  EXPECT_THAT(FaultOf([&] { numbers.write(3); }), HasSubstr("stream \"lonely\" is written while full"));
  EXPECT_EQ(numbers.read(), 0);
  EXPECT_EQ(numbers.read(), 1);
  EXPECT_TRUE(numbers.empty());
}

TEST(ApUint, FieldsOfEveryWidthAndPlace) {
  ap_uint<512> word = 0;
  for (const int width : {1, 5, 8, 16, 32, 33, 64}) {
    for (const int low : {0, 3, 32, 64, 100, 512 - width}) {
      word = 0;
      const uint64_t value = 0xfedcba9876543210U;
      word.range(low + width - 1, low) = value;
      for (int bit = 0; bit < 512; ++bit) {
        const bool inside = bit >= low && bit < low + width;
        EXPECT_EQ(word.range(bit, bit).to_uint(), inside ? (value >> (bit - low)) & 1U : 0U) << width << " at " << low;
      }
      EXPECT_EQ(word.range(low + width - 1, low).to_uint(),
                static_cast<uint32_t>(width == 64 ? value : value & ((uint64_t{1} << width) - 1)));
    }
  }
}

TEST(ApUint, FromANumber) {
  const ap_uint<512> word = 0x1234U;
  EXPECT_EQ(word.range(15, 0).to_uint(), 0x1234U);
  EXPECT_EQ(word.range(511, 480).to_uint(), 0U);
  EXPECT_TRUE(word == ap_uint<512>(0x1234U));
  EXPECT_TRUE(word != ap_uint<512>(0x1235U));
}

}  // namespace
