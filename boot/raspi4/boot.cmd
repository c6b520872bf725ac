# What U-Boot does on a card of scripts/sdcard --u-boot, as /boot.scr. booti
# puts Bulkhead where it belongs, and the bundle into the device tree.
load ${devtype} ${devnum}:${distro_bootpart} ${kernel_addr_r} kernel8.img
load ${devtype} ${devnum}:${distro_bootpart} ${ramdisk_addr_r} bundle.uimg
booti ${kernel_addr_r} ${ramdisk_addr_r} ${fdt_addr}
