# Before the system is linked: PLRAM[4] as 4 MB of URAM instead of 128 KB of BRAM. For cards without DDR, where lm_head's
# logits, the rotary table and the norms' constants lie there.
sdx_memory_subsystem::update_plram_specification [get_bd_cells /memory_subsystem] PLRAM_MEM04 \
  {SIZE 4M AXI_DATA_WIDTH 512 SLR_ASSIGNMENT SLR2 READ_LATENCY 10 MEMORY_PRIMITIVE URAM}
validate_bd_design -force
save_bd_design
