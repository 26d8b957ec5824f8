"""The rule of attention, by hand."""

import torch

from concept_icd.llm.packing import NOTE, PADDING, chunk_questions, pack_batch, visible


def test_a_question_sees_the_note_and_itself_only():
    #                       note   note  q1 q1  q2  pad
    segments = torch.tensor([[NOTE, NOTE, 1, 1, 2, PADDING]])
    positions = torch.tensor([[0, 1, 2, 3, 2, 0]])
    mask = visible(segments, positions, segments, positions)[0, 0].int().tolist()
    assert mask == [
        [1, 0, 0, 0, 0, 0],  # the note is causal
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],  # first question: the note, then itself, causally
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],  # second question: not the first one
        [1, 0, 0, 0, 0, 1],  # padding sees something, so that softmax is defined; nothing sees padding
    ]


def test_chunks_keep_every_question_in_order():
    questions = [[1, 2], [3], [4, 5, 6, 7], [8]]
    chunks = list(chunk_questions([questions], tokens=3))
    assert [chunk.ids.tolist() for chunk in chunks] == [[[1, 2, 3]], [[4, 5, 6, 7]], [[8]]]
    assert [chunk.counts for chunk in chunks] == [(2,), (1,), (1,)]
    assert chunks[0].segments.tolist() == [[1, 1, 2]]
    assert chunks[0].offsets.tolist() == [[0, 1, 0]]
    assert chunks[0].ends.tolist() == [[1, 2]]


def test_rows_with_questions_of_their_own_are_padded():
    chunks = list(chunk_questions([[[1, 2], [3]], [], [[4], [5, 6], [7]]], tokens=3))
    assert [chunk.counts for chunk in chunks] == [(2, 0, 2), (0, 0, 1)]
    assert chunks[0].ids.tolist() == [[1, 2, 3], [0, 0, 0], [4, 5, 6]]
    assert chunks[0].segments.tolist() == [[1, 1, 2], [PADDING] * 3, [1, 2, 2]]
    assert chunks[0].offsets.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert chunks[0].ends.tolist() == [[1, 2], [0, 0], [0, 2]]
    assert chunks[1].ids.tolist() == [[0], [0], [7]]


def test_a_training_row_ends_with_the_last_tokens_of_its_questions():
    batch = pack_batch([[10, 11], [20]], [[[1, 2], [3, 4, 5]], [[6]]], padding_id=0)
    assert batch["input_ids"].tolist() == [[10, 11, 1, 3, 4, 2, 5], [0, 0, 0, 0, 20, 0, 6]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 2, 3, 3, 4], [0, 0, 0, 0, 0, 0, 1]]
    mask = visible(batch["segments"], batch["position_ids"], batch["segments"], batch["position_ids"])
    sees = mask[0, 0]
    assert sees[5].int().tolist() == [1, 1, 1, 0, 0, 1, 0]
    assert sees[6].int().tolist() == [1, 1, 0, 1, 1, 0, 1]
    assert mask[1, 0, 6].int().tolist() == [0, 0, 0, 0, 1, 0, 1]
